"""Systems of which it is known which claims hold, and how often each row is right about them."""
