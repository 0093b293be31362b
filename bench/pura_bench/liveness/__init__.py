"""How often the gate errs: bona fide and attack presentations made from photos."""
