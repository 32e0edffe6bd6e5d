"""Learning an intervention and measuring it: the Lightning module, `fit`, evaluation beside controls, factors."""
