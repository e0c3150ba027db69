from setuptools import find_packages, setup

rooms = find_packages(include=["engine*", "widgets*", "gui*"])
packages = ["opsin", *(f"opsin.{room}" for room in rooms)]
data = {"opsin": ["napari.yaml", *(f"resources/{part}" for part in ("*.in", "guide/*", "icons/*", "recipes/*"))]}
# what else lies in the packages' folders is named above; without this setuptools warns of every folder of data
setup(packages=packages, package_dir={"opsin": "."}, package_data=data, include_package_data=False)
