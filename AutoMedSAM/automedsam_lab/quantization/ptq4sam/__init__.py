"""PTQ4SAM (Lv et al. 2024), and an ablation of its parts."""
