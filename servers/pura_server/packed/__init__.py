"""Engine `packed` in the two servers: pura.protocols.packed joined with the store and the offline pools."""

from pura_server.packed.gateway import PackedGateway
from pura_server.packed.peer import PackedPeer

__all__ = ["PackedGateway", "PackedPeer"]
