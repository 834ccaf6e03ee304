require onnxruntime.inc

# The tag v1.23.2. The others are what its cmake/deps.txt names: the commits of the tags there, or the commits.
SRCREV_onnxruntime = "a83fc4d58cb48eb68890dd689f94f28288cf2278"
SRCREV_abseil-cpp = "bc257a88f7c1939f24e0379f14a3589e926c950c"
SRCREV_cpuinfo = "8a1772a0c5c447df2d18edf33ec4603a8c9c04a6"
SRCREV_date = "6e921e1b1d21e84a5c82416ba7ecd98e33a436d0"
SRCREV_dlpack = "5c210da409e7f1e51ddf445134a4376fdbd70d7d"
SRCREV_eigen = "1d8b82b0740839c0de7f1242a3585e3390ff5f33"
SRCREV_flatbuffers = "0100f6a5779831fa7a651e4b67ef389a8752bd9b"
SRCREV_gsl = "a3534567187d2edc428efd3f13466ff75fe5805c"
SRCREV_json = "9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03"
SRCREV_mp11 = "0a0b5fb001ce0233ae3a6f99d849c0649e5a7361"
SRCREV_onnx = "e709452ef2bbc1d113faf678c24e6d3467696e83"
SRCREV_protobuf = "f0dc78d7e6e331b8c6bb2d5283e06aa26883ca7c"
SRCREV_pybind11 = "a2e59f0e7065404b44dfe92a28aca47ba1378dc4"
SRCREV_re2 = "6dcd83d60f7944926bfd308cc13979fc53dd69ca"
SRCREV_safeint = "4cafc9196c4da9c817992b20f5253ef967685bf8"
