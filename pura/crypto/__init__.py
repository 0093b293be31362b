"""Keys, Paillier encryption, threshold decryption, encodings and oblivious transfer: no I/O, randomness passed in."""
