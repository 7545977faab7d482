module outflow.test/client

go 1.19
