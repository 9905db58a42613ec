"""What others read of ours, with the versions that they run with: see scripts/peers.sh."""
