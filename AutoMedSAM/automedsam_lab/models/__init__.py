"""Networks that the lab trains or exports."""
