"""SPF-Portrait: new attributes for a text-to-image model, everything else left as it was."""
