"""From a photo to an embedding: detect, align, embed."""
