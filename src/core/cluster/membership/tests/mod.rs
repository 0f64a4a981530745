mod hostile;
mod life;
mod sim;
mod targets;
