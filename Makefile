# The same as ./run and ./test, for habit.
.PHONY: build run test bench format clean
build:
	sh cmake/install_packages build
	cmake -G Ninja -B build
	ninja -C build engenho
run:
	./run
test:
	./test
bench: build
	sh cmake/install_packages bench
	sh conformance/bench
format:
	sh cmake/install_packages format
	git ls-files 'components/*.h' 'components/*.cc' | xargs clang-format -i
clean:
	rm -rf build
