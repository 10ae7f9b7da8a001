"""Lists the models of an OpenAI-like API. The library reads OPENAI_BASE_URL and OPENAI_API_KEY."""

import openai

try:
    for model in openai.OpenAI(max_retries=0).models.list():
        print(model.id)
except openai.APIStatusError as error:
    print(type(error).__name__, error.status_code)
