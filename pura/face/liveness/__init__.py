"""Is somebody there? What a client asks a camera before it embeds and encrypts a face.

A *gate* looks at frames and gives a verdict with its reasons; any veto denies. The verdict is this client's own word
about its own camera. It is no evidence for a server, which sees a ciphertext and cannot know what it was made from, and
nothing is bound to it.
"""

from pura.face.liveness.challenge import Challenge, Step, draw
from pura.face.liveness.gate import ChallengeGate, Cue, Gate, Reason, Verdict
from pura.face.liveness.seen import Seen

__all__ = ["Challenge", "ChallengeGate", "Cue", "Gate", "Reason", "Seen", "Step", "Verdict", "draw"]
