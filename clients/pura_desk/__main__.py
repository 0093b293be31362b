"""`python -m pura_desk` is `pura desk`."""

from pura import commands
from pura_client.cli_common import crash
from pura_desk.cli import desk

commands.run(desk, crash)
