"""What a notebook defines goes to workers by value, and takes the package along by name."""

import pickle

import cloudpickle

import s2koop


def test_a_function_that_uses_the_package_can_be_sent():
    namespace = {"s2koop": s2koop}
    exec("def of_a_notebook():\n    return s2koop.koopman.load, s2koop.ac", namespace)
    back = pickle.loads(cloudpickle.dumps(namespace["of_a_notebook"]))
    assert back() == (s2koop.koopman.load, s2koop.ac)


def test_modules_come_back_as_themselves():
    for module in (s2koop, s2koop.ac, s2koop.ssl, s2koop.koopman, s2koop.cube):
        assert pickle.loads(cloudpickle.dumps(module)) is module
