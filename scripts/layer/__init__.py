"""Tools for the Yocto layer: packing model bundles, and checks of recipes without a Yocto build."""
