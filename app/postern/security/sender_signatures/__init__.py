"""The signatures of senders that can send no access token: GitHub, Stripe, Slack, and an HMAC in a header."""
