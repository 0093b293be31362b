"""Published attacks on face matching, to be run against this product and against what it replaces.

An attacker holds some photos of other people, a copy of the embedding network, and a client's right to ask. What a
deployment answers, a score or a decision, is an oracle (`oracle`). From it the attacks make an image or a template:

    darkerbb    zero-order ascent in a space of eigenfaces, from scores alone
    blobs       its forerunner: the best of a batch of random Gaussian spots
    linear      a template from the scores of known ones, by linear algebra
    dictionary  the first accepted probe: photos of others, or vectors that are close to many people
    belief      a template from decisions alone, by questions whose answer cannot be guessed
    boundary    an image from decisions alone
    leak        a template from what S2 sees in the published comparison
    transcript  a template from whatever number of a server's transcript follows the similarity
    invert      an image from a template
    keysplit    the published split of the key, undone by one server

`metrics` says how well each one did. torch comes with the extra `attack` and is imported where it is needed.
"""
