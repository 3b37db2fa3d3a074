"""What every operation computes, in PyTorch; Triton twins beside it."""
