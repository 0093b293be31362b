"""Engine `prepared` in the two servers: pura.protocols.prepared joined with the store and the offline shelves."""

from pura_server.prepared.gateway import PreparedGateway
from pura_server.prepared.peer import PreparedPeer

__all__ = ["PreparedGateway", "PreparedPeer"]
