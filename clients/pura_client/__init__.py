"""The client: embeds and encrypts here, asks one server, and gets a decision.

import pura_client
pura = pura_client.connect("client.toml")
print(pura.identify("photo.jpg").label)
"""

from pura_client.answers import Decision, Identified, Recognised
from pura_client.config import ClientConfig
from pura_client.enrolling import Enrolled, Enrolment
from pura_client.session import Client, Entry, Forgotten, Status, connect
from pura_client.templates import Raw, Ready

__all__ = [
    "Client", "ClientConfig", "Decision", "Enrolled", "Enrolment", "Entry", "Forgotten", "Identified", "Raw", "Ready",
    "Recognised", "Status", "connect",
]  # fmt: skip
