"""The server of either role."""

import os

# before numpy: the lattice's matrix products are a few megaflops each, and threads of BLAS would wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# before gRPC: what the library logs is not JSON, and it asks when it is loaded
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
