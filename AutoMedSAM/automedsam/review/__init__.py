"""The review page: a local web server for the results of a cohort."""
