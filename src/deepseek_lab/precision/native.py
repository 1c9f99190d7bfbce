class Native:
    keeps_weight = False
