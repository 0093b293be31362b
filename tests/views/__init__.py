"""What each server sees, what a simulator makes of it without the other server's secrets, and tests that try to tell
the two apart (docs/security/prepared.md)."""
