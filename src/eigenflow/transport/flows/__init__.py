"""How single modes move: drift laws, their characteristics, and what is lost along them."""
