"""Create the buckets `mlflow` and `lake`, each with its own identity, unless they are there."""

import os


def create_bucket(name: str, access_key: str, secret_key: str) -> None:
    """Create one bucket as the identity that may use it; a bucket that is there already is left alone."""
    import boto3

    client = boto3.client("s3", aws_access_key_id=access_key, aws_secret_access_key=secret_key)
    try:
        client.create_bucket(Bucket=name)
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        return


if __name__ == "__main__":
    for bucket in ("mlflow", "lake"):
        prefix = f"{bucket.upper()}_S3"
        create_bucket(bucket, os.environ[f"{prefix}_ACCESS_KEY"], os.environ[f"{prefix}_SECRET_KEY"])
