from setuptools import find_packages, setup

rooms = find_packages(include=["engine*", "widgets*", "gui*"])
packages = ["opsin", *(f"opsin.{room}" for room in rooms)]
data = {"opsin": ["napari.yaml", "resources/**/*"]}
setup(packages=packages, package_dir={"opsin": "."}, package_data=data)
