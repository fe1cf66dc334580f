"""What a record says, made comparable: mapped columns, standard values, features and block keys."""
