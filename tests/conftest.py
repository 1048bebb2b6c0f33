"""What holds for every test process."""

import os

# Set before torch is loaded: two processes of many threads each wait for one another instead of working.
os.environ.setdefault("OMP_NUM_THREADS", "1")
