"""What people look at: runs read, figures, interactive views, pages."""
