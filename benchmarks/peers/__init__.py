"""One file per competitor, as its own documentation has it; the peers of one question share one signature.

Preprocessing: ``make(threads, variant) -> Run``: ``Run(bodies, boxes, out)`` turns every encoded poster into a
normalised float32 square, a batch of ``len(out)`` at a time into ``out`` (``[b, 3, size, size]``), and returns the last
batch. A box is (top, left, height, width) in pixels of the poster; outside the poster it is black. ``PACKAGES`` names
the libraries whose versions count. These files import nothing of keyart but each other (except ``ours``): one of them
runs under an interpreter of its own. The files named ``loading_*`` follow ``loader.py``.
"""
