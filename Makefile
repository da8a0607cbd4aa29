# The same as ./run and ./test, for habit.
.PHONY: build images run test soak bench format clean
build:
	sh cmake/install_packages build
	cmake -G Ninja -B build
	ninja -C build engenho
images:
	sh cmake/install_packages run
	python3 conformance/images/build.py build/images
run:
	./run
test:
	./test
soak:
	sh conformance/soak
bench: build
	sh cmake/install_packages bench
	sh conformance/bench
	sh bench/datastore/run
format:
	sh cmake/install_packages format
	git ls-files 'components/*.h' 'components/*.cc' | xargs clang-format -i
clean:
	rm -rf build
