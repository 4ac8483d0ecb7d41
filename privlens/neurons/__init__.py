"""What single neurons do, and the kin of the two papers."""
