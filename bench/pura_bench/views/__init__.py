"""What each server of engine `packed` sees, what a simulator makes of public parameters alone, and tests that try to
tell the two apart (docs/security/packed.md)."""
