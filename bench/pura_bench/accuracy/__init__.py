"""How well faces are recognised: in floats, quantised, and through encryption."""
