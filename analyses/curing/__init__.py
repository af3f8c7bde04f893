"""What the experiment on cures needs: one seed's patient, treatments, numbers, claims and page."""
