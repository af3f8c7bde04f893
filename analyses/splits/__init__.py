"""What the paper's experiment needs beside its script: cells, numbers, proxies for popularity, the table."""
