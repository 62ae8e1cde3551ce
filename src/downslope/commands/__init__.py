"""The commands of `downslope`, a file each."""
