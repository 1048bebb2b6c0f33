"""IC-Portrait: the profile's person in the pose and light of a style reference."""
