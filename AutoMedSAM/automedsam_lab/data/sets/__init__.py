"""The published sets in the folder of datasets: single images, volumes, whole heads, and clips cut from them."""
