"""What analysts do with s3fs, pandas and pyarrow: `s3_with_s3fs.py BUCKET`, set up by the environment alone.

Prints the name of each function that held.
"""

import os
import sys

import pandas as pd  # type: ignore[import-untyped]
import pyarrow.dataset as ds  # type: ignore[import-not-found]
import pyarrow.fs as pafs  # type: ignore[import-not-found]
import pyarrow.parquet as pq  # type: ignore[import-not-found]
import s3fs  # type: ignore[import-not-found]

MIB = 2**20


def files(fs: s3fs.S3FileSystem, bucket: str) -> None:
    """Written, appended, read by pieces, found, copied, moved, removed."""
    data = os.urandom(12 * MIB)
    with fs.open(f"{bucket}/dir/large", "wb", block_size=5 * MIB) as file:
        for start in range(0, len(data), 100_000):
            file.write(data[start : start + 100_000])
    with fs.open(f"{bucket}/dir/large", "rb", block_size=MIB) as file:
        file.seek(7 * MIB)
        assert file.read(1000) == data[7 * MIB : 7 * MIB + 1000]
        file.seek(-10, 2)
        assert file.read() == data[-10:]
    assert fs.cat(f"{bucket}/dir/large") == data
    fs.pipe({f"{bucket}/dir/größe Ω+&": b"x", f"{bucket}/empty": b""})
    with fs.open(f"{bucket}/empty", "ab") as file:
        file.write(b"appended")
    assert fs.cat(f"{bucket}/empty") == b"appended"
    assert fs.find(bucket) == [f"{bucket}/dir/größe Ω+&", f"{bucket}/dir/large", f"{bucket}/empty"]
    assert fs.glob(f"{bucket}/*/gr*") == [f"{bucket}/dir/größe Ω+&"]
    assert (fs.isdir(f"{bucket}/dir"), fs.exists(f"{bucket}/none"), fs.size(f"{bucket}/empty")) == (True, False, 8)
    fs.copy(f"{bucket}/dir/large", f"{bucket}/copy")
    fs.mv(f"{bucket}/copy", f"{bucket}/moved")
    assert fs.checksum(f"{bucket}/moved")
    fs.put("local", f"{bucket}/tree", recursive=True)
    fs.get(f"{bucket}/tree", "back", recursive=True)
    assert sorted(os.listdir("back")) == sorted(os.listdir("local"))
    fs.rm(f"{bucket}/dir", recursive=True)
    assert sorted(fs.ls(bucket, refresh=True)) == [f"{bucket}/{name}" for name in ("empty", "moved", "tree")]


def frames(unused: s3fs.S3FileSystem, bucket: str) -> None:
    """A data frame as CSV and Parquet, whole, by column, and partitioned."""
    frame = pd.DataFrame({"n": range(200_000), "part": [number % 3 for number in range(200_000)], "text": "größe"})
    frame.to_csv(f"s3://{bucket}/f.csv.gz", index=False)
    assert pd.read_csv(f"s3://{bucket}/f.csv.gz").equals(frame)
    frame.to_parquet(f"s3://{bucket}/f.parquet")
    assert pd.read_parquet(f"s3://{bucket}/f.parquet", columns=["n"])["n"].sum() == frame["n"].sum()
    frame.to_parquet(f"s3://{bucket}/parts", partition_cols=["part"])
    assert len(pd.read_parquet(f"s3://{bucket}/parts", filters=[("part", "=", 1)])) == 66_667


def arrow(unused: s3fs.S3FileSystem, bucket: str) -> None:
    """Arrow's own client in C++: a dataset read, a table written, a folder removed."""
    scheme, _, host = os.environ["AWS_ENDPOINT_URL_S3"].partition("://")
    trust = {"tls_ca_file_path": os.environ["AWS_CA_BUNDLE"]} if scheme == "https" else {}
    native = pafs.S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1", **trust)
    table = ds.dataset(f"{bucket}/parts", filesystem=native, partitioning="hive").to_table(columns=["n", "part"])
    assert table.num_rows == 200_000
    pq.write_table(table, f"{bucket}/native/t.parquet", filesystem=native, compression="none")
    assert pq.read_table(f"{bucket}/native/t.parquet", filesystem=native).num_rows == 200_000
    with native.open_output_stream(f"{bucket}/native/large") as stream:
        for _ in range(12):
            stream.write(bytes(MIB))
    assert native.get_file_info(f"{bucket}/native/large").size == 12 * MIB
    found = native.get_file_info(pafs.FileSelector(f"{bucket}/native", recursive=True))
    assert sorted(one.base_name for one in found) == ["large", "t.parquet"]
    native.delete_dir(f"{bucket}/native")


def main(bucket: str) -> None:
    """All of them, in one bucket that is gone at the end."""
    os.mkdir("local")
    for name in ("a", "b c", "d"):
        with open(f"local/{name}", "wb") as file:
            file.write(name.encode())
    fs = s3fs.S3FileSystem()
    fs.mkdir(bucket)
    for step in (files, frames, arrow):
        step(fs, bucket)
        print(step.__name__, flush=True)
    fs.invalidate_cache()
    fs.rm(bucket, recursive=True)
    assert not fs.exists(bucket)


if __name__ == "__main__":
    main(sys.argv[1])
