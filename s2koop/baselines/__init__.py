"""What a user would otherwise pick: persistence, pixel mean, same day last year, harmonic, Whittaker."""
