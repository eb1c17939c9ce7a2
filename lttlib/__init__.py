"""The methods of the book "Sparse Neural Networks: From Practice to Theory", in torch. One file per idea."""
