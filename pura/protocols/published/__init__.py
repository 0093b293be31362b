"""The protocols as published (SMUL, BatchSquare, SCMP, SMIN), kept whole as the reference."""
