"""What a study leaves behind: its files (`record`), pictures (`plots`), MLflow runs (`tracking`) and their UI (`ui`)."""
