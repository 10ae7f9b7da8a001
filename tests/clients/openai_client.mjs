// Lists the models of an OpenAI-like API. The library reads OPENAI_BASE_URL and OPENAI_API_KEY.
import OpenAI from 'openai';

try {
  for await (const model of new OpenAI({ maxRetries: 0 }).models.list()) {
    console.log(model.id);
  }
} catch (error) {
  console.log(error.constructor.name, error.status);
}
