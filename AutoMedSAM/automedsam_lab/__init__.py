"""The lab: it reads datasets, trains, exports, quantizes and evaluates, and it makes model bundles.

The lab knows the engine (`automedsam`); the engine never knows the lab.
"""
