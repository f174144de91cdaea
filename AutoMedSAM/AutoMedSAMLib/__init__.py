"""The Slicer side of AutoMedSAM: nodes, panel, parameters, and the engine's process. No numerics of its own."""
