"""Metadata of granules are XML from anywhere: no entity is expanded, nothing is fetched, and no file is too large."""

import re
import resource

import numpy as np
import pytest

from s2koop.ac import read_angles
from s2koop.errors import InputError

ROW = "<VALUES>30 31 32</VALUES>" * 3
GRID = f"<COL_STEP>5000</COL_STEP><ROW_STEP>5000</ROW_STEP><Values_List>{ROW}</Values_List>"
GRANULE = f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-1C_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd">
<n1:General_Info><TILE_ID>T32TMT</TILE_ID><SENSING_TIME>2020-07-05T10:15:59Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:32632</HORIZONTAL_CS_CODE>
<Geoposition resolution="10"><ULX>399960</ULX><ULY>5300040</ULY></Geoposition></Tile_Geocoding>
<Tile_Angles><Sun_Angles_Grid><Zenith>{GRID}</Zenith><Azimuth>{GRID}</Azimuth></Sun_Angles_Grid>
<Viewing_Incidence_Angles_Grids bandId="0" detectorId="1"><Zenith>{GRID}</Zenith><Azimuth>{GRID}</Azimuth>
</Viewing_Incidence_Angles_Grids></Tile_Angles></n1:Geometric_Info></n1:Level-1C_Tile_ID>"""
LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.fixture
def read(tmp_path):
    """Read a text or bytes as the metadata of a granule."""

    def reading(content):
        path = tmp_path / "MTD_TL.xml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_angles(path)

    return reading


def with_doctype(declarations, use=""):
    return GRANULE.replace("?>", f"?><!DOCTYPE x [{declarations}]>", 1).replace("T32TMT", f"T32TMT{use}")


def test_a_whole_file_is_read(read):
    angles = read(GRANULE)
    np.testing.assert_allclose(angles["sza"].values, [[30, 31, 32]] * 3)
    assert angles.attrs["tile_id"] == "T32TMT"
    assert angles.rio.crs.to_epsg() == 32632


def test_entities_are_not_expanded(read):
    """The billion laughs, its quadratic brother, and one that is harmless."""
    attacks = {
        "laughs": with_doctype(f'<!ENTITY a0 "ha">{LAUGHS}', "&a9;"),
        "quadratic": with_doctype(f'<!ENTITY a "{"x" * 10**6}">', "&a;" * 10**4),
        "one": with_doctype('<!ENTITY a "x">', "&a;"),
        "parameter": with_doctype("<!ENTITY % a \"<!ENTITY b 'x'>\"> %a;", "&b;"),
        "attribute": with_doctype('<!ATTLIST x y CDATA "z">'),
        "nothing": GRANULE.replace("?>", "?><!DOCTYPE x>", 1),
    }
    for attack in attacks.values():
        with pytest.raises(InputError, match="document type"):
            read(attack)


@pytest.mark.parametrize("scheme", ["file://", "http://127.0.0.1:9", "ftp://127.0.0.1:9"])
def test_nothing_else_is_read_or_fetched(read, tmp_path, scheme):
    secret = tmp_path / "secret.txt"
    secret.write_text("hush")
    place = f"{scheme}{secret}"
    for declaration, use in (
        (f'<!ENTITY a SYSTEM "{place}">', "&a;"),
        (f'<!ENTITY % a SYSTEM "{place}"> %a;', ""),
        (f'<!ENTITY a PUBLIC "x" "{place}">', "&a;"),
    ):
        with pytest.raises(InputError, match="document type") as raised:
            read(with_doctype(declaration, use))
        assert "hush" not in str(raised.value)
    with pytest.raises(InputError, match="document type"):
        read(GRANULE.replace("?>", f'?><!DOCTYPE x SYSTEM "{place}">', 1))
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{place}" parse="text"/>'
    assert read(GRANULE.replace("T32TMT", include)).attrs["tile_id"] == ""  # no element of ours, and left alone


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_a_document_type_does_not_hide_in_an_encoding(read, encoding):
    attack = with_doctype('<!ENTITY a "x">', "&a;").replace("UTF-8", encoding)
    with pytest.raises(InputError):
        read(attack.encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-7", "nonsense", "cp037", "utf-32", "base64", "idna", "\x00"])
def test_encodings_that_are_not_known_are_refused(read, encoding):
    with pytest.raises(InputError):
        read(GRANULE.replace("UTF-8", encoding))


def test_size_is_looked_at_before_the_content(tmp_path):
    path = tmp_path / "MTD_TL.xml"
    with path.open("wb") as file:
        file.truncate(2**42)  # a hole of four terabytes
    with pytest.raises(InputError, match="more than 16 MB"):
        read_angles(path)


def test_no_file_takes_more_memory_than_a_multiple_of_itself(read):
    """Sixteen megabytes of elements would be gigabytes of a tree, and deep ones would end the interpreter."""
    inner = GRANULE.partition("<n1:Geometric_Info>")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for more in (
        "<a/>" * 3_500_000,
        "<a>" * 2_000_000 + "</a>" * 2_000_000,
        '<a b="c"/>' * 1_500_000,
        "<a>" * 65 + "</a>" * 65,
    ):
        with pytest.raises(InputError, match="elements, or is nested"):
            read(more.join((inner[0], inner[1] + inner[2])))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 2**10


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("30 31 32", "30 31"), ("30 31 32", "30 31 x"), ("30 31 32", "30 31 inf"), ("30 31 32", "30 31 1e308"),
        ("30 31 32", " "), ("<VALUES>30 31 32</VALUES>", ""), ("30 31 32", "1 " * 20_000),
        ('bandId="0"', 'bandId="13"'), ('bandId="0"', 'bandId="-1"'), ('bandId="0"', 'bandId="x"'), ('bandId="0"', ""),
        ('bandId="0"', 'bandId="1e99"'),
        ("EPSG:32632", ""), ("EPSG:32632", "EPSG:0"), ("EPSG:32632", "EPSG:999999"), ("EPSG:32632", "32632"),
        ("EPSG:32632", "/vsicurl/http://127.0.0.1:9/x.wkt"), ("EPSG:32632", "http://127.0.0.1:9/crs"),
        ("EPSG:32632", "+proj=longlat +nadgrids=/etc/passwd"), ("EPSG:32632", "EPSG:" + "9" * 5000), ("399960", "nan"),
        ("399960", ""), ("5300040", "1e999"), ("<ROW_STEP>5000", "<ROW_STEP>x"), ("Tile_Angles", "Other"),
        ("<ULX>399960</ULX>", ""), ("</n1:Level-1C_Tile_ID>", ""), ("xmlns:n1", "xmlns:n2"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_damaged_metadata_are_refused_in_our_words(read, old, new):
    assert old in GRANULE
    with pytest.raises(InputError):
        read(GRANULE.replace(old, new, 1) if "VALUES" not in old else GRANULE.replace(old, new))


def test_every_cut_is_refused_in_our_words(read):
    whole = GRANULE.encode()
    for cut in range(0, len(whole) - 1, 97):
        with pytest.raises(InputError):
            read(whole[:cut])


def test_words_of_errors_stay_short(read):
    with pytest.raises(InputError) as raised:
        read(GRANULE.replace('bandId="0"', f'bandId="{"x" * 10**5}"'))
    assert len(re.sub(r"/\S+", "", str(raised.value))) < 300
