"""The client: embeds and encrypts here, asks one server, and gets a decision.

import pura_client
pura = pura_client.connect("client.toml")
print(pura.identify("photo.jpg").label)
"""

from pura_client.config import ClientConfig
from pura_client.session import Client, Decision, Enrolled, Status, connect

__all__ = ["Client", "ClientConfig", "Decision", "Enrolled", "Status", "connect"]
