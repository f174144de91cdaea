"""What the lab's bundles are compared with: other people's models, each run in a process of its own.

An adapter here prepares a job, hands it to a script in `workers`, which may run in another Python with other packages,
and writes what comes back as a baseline's folder (`automedsam_lab.data.prediction_folder`).
"""
